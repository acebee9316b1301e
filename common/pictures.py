"""A user's own picture, whatever its size or mode, as plain RGB."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.runtime import UserError, first_line

LARGEST = 80_000_000  # pixels; beyond that it is a mistake or an attack


def read(path: str | Path) -> np.ndarray:
    """Reads a picture as (H, W, 3) uint8: turned as its EXIF note says, transparency laid on white, grey and palette pictures
    brought to RGB. Of an animation the first frame is taken.

    Raises:
        UserError: no such file; not a picture; damaged; far too large.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no picture {path}")
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST:
                raise UserError(f"{path} has {image.width} x {image.height} pixels: make it smaller first")
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode in ("I;16", "I", "F"):  # 16 or 32 bits: stretched to 8, where PIL's own conversion would clip
                values = np.asarray(image, dtype=float)
                span = values.max() - values.min()
                image = Image.fromarray(((values - values.min()) / (span or 1) * 255).astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise UserError(f"{path} is not a picture that can be read: use PNG, JPEG, WebP, GIF, BMP or TIFF") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path} has far too many pixels: make it smaller first") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UserError(f"{path} is a damaged picture ({first_line(error)})") from None


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """The central square of a picture (H, W, 3), brought to side x side."""
    square = ImageOps.fit(Image.fromarray(image), (side, side), Image.Resampling.LANCZOS)
    return np.asarray(square)
