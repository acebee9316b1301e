"""Draws the example images: an airplane in the sky and a sailing boat at sea.

python examples/draw_images.py [FOLDER]     writes airplane.png and boat.png beside this file
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE, FINER = 224, 4  # drawn four times larger, then reduced, which smooths the edges
N = SIDE * FINER


def gradient(top: tuple, bottom: tuple, height: int) -> np.ndarray:
    """Colors (height, N, 3) that change from `top` to `bottom`."""
    share = np.linspace(0, 1, height)[:, None, None]
    return np.broadcast_to((1 - share) * top + share * np.array(bottom), (height, N, 3))


def clouds(canvas: np.ndarray, rng: np.random.Generator, n: int, height: int) -> Image.Image:
    """The canvas (H, W, 3) as an image with `n` soft clouds in its upper part."""
    image = Image.fromarray(canvas.astype(np.uint8))
    mask = Image.new("L", image.size)
    draw = ImageDraw.Draw(mask)
    for _ in range(n):
        x, y = rng.uniform(0, N), rng.uniform(0, height)
        for _ in range(9):
            dx, dy, r = rng.normal(0, 70), rng.normal(0, 14), rng.uniform(18, 46)
            draw.ellipse((x + dx - r, y + dy - r / 2, x + dx + r, y + dy + r / 2), fill=170)
    image.paste(Image.new("RGB", image.size, "white"), mask=mask.filter(blur(16)))
    return image


def blur(radius: float) -> ImageFilter.GaussianBlur:
    return ImageFilter.GaussianBlur(radius)


def airplane() -> Image.Image:
    """A white airliner seen from the side, nose to the right."""
    image = clouds(gradient((70, 130, 205), (185, 215, 240), N), np.random.default_rng(3), 7, N)
    draw = ImageDraw.Draw(image)
    draw.polygon([(150, 400), (110, 250), (185, 250), (290, 400)], fill=(40, 70, 140))  # fin
    draw.polygon([(130, 430), (60, 360), (120, 360), (260, 430)], fill=(170, 176, 186))  # tailplane
    draw.polygon([(420, 430), (300, 300), (350, 300), (560, 430)], fill=(168, 174, 184))  # far wing
    draw.polygon(  # fuselage
        [(90, 405), (150, 392), (690, 388), (760, 400), (805, 432), (790, 455), (700, 474)]
        + [(300, 478), (170, 450)],
        fill=(238, 241, 245),
    )
    draw.polygon([(170, 450), (790, 455), (700, 474), (300, 478)], fill=(196, 203, 212))
    draw.polygon([(722, 402), (758, 402), (776, 418), (730, 418)], fill=(45, 55, 75))  # cockpit
    for x in range(215, 690, 22):
        draw.ellipse((x, 412, x + 10, 426), fill=(70, 85, 110))
    draw.polygon([(400, 460), (600, 460), (330, 640), (280, 640)], fill=(150, 157, 168))  # wing
    draw.rounded_rectangle((420, 520, 530, 566), 22, fill=(110, 118, 130))  # engine
    draw.ellipse((512, 520, 540, 566), fill=(60, 66, 78))
    return finish(image)


def boat() -> Image.Image:
    """A boat with two sails."""
    rng, horizon = np.random.default_rng(5), 520
    sky = gradient((96, 150, 214), (214, 228, 240), horizon)
    sea = gradient((70, 120, 160), (22, 60, 104), N - horizon)
    image = clouds(np.concatenate((sky, sea)), rng, 5, horizon - 180)
    draw = ImageDraw.Draw(image)
    for _ in range(700):  # waves
        y = rng.uniform(horizon, N)
        near = (y - horizon) / (N - horizon)
        x, length, light = rng.uniform(0, N), 10 + 70 * near, rng.uniform(-24, 40)
        under = np.array(image.getpixel((int(x), int(y))))
        color = tuple(np.clip(under + light, 0, 255).astype(int).tolist())
        draw.line((x, y, x + length, y), fill=color, width=2 + int(4 * near))
    draw.polygon([(430, 90), (430, 590), (690, 590)], fill=(246, 244, 236))  # mainsail
    draw.polygon([(410, 130), (410, 580), (235, 580)], fill=(226, 226, 222))  # jib
    for k in range(1, 5):
        draw.line((430, 90 + 100 * k, 430 + 52 * k, 90 + 100 * k), fill=(200, 198, 190), width=4)
    draw.rectangle((414, 70, 426, 640), fill=(96, 70, 48))  # mast
    draw.polygon([(200, 620), (720, 620), (650, 710), (270, 710)], fill=(150, 42, 38))  # hull
    draw.polygon([(200, 620), (720, 620), (712, 634), (210, 634)], fill=(240, 236, 228))
    reflection = image.crop((180, 420, 740, 710)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    mask = Image.new("L", reflection.size)
    mask.paste(70, (20, 0, 540, 110))
    image.paste(reflection, (180, 712), mask.filter(blur(14)))
    return finish(image)


def finish(image: Image.Image) -> Image.Image:
    """The image at its final size, with a little grain."""
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), float)
    grain = np.random.default_rng(7).normal(0, 3, small.shape)
    return Image.fromarray(np.clip(small + grain, 0, 255).round().astype(np.uint8))


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    folder = folder if folder.is_dir() else folder.parent
    for name, draw in {"airplane": airplane, "boat": boat}.items():
        draw().save(folder / f"{name}.png", optimize=True)
