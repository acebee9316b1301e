"""Grad-CAM for any PyTorch classifier of images. Writes gradcam_example.png.

python examples/gradcam_any_model.py
"""

from pathlib import Path

from PIL import Image

from common import data, figures, models, results
from q1_gradcam import gradcam

photo = data.read_image(Path(__file__).with_name("airplane.png"))  # (H, W, 3) uint8
network = models.load(results.OUTPUTS / "q1_gradcam/model.pt").network  # any torch.nn.Module
x = models.to_input(data.fit_image(photo, 32)[None])  # (N, 3, H, W), as the network expects it

maps = gradcam.explain(network, x, layer="body.stage3")  # of the predicted class, or target=...
raw = maps.raw[0].numpy()  # (h, w), signed
print(f"class {maps.target[0]}, logit {maps.logits.max():.2f}, sum of the map {raw.sum():.2f}")
Image.fromarray(figures.overlay(photo, raw)).save("gradcam_example.png")
