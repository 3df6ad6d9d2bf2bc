"""The models that the server can load, one file a family, all behind the protocol of `model.py`.

Nothing heavy (onnxruntime, OpenCV, rapidocr) is imported before a model is loaded.
"""
