"""OpenCV, imported once and whole: `from inference_server.models.opencv import cv2`.

Models are imported on threads side by side, and OpenCV takes itself out of `sys.modules` while it is imported: another
thread that imports it at that moment gets a part of it (one start of eight failed). Who imports this module waits.
"""

import cv2

__all__ = ["cv2"]
