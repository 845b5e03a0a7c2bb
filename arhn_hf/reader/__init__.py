"""The judge that ships inside the package: a small extractive reader fused with embedding similarity.

Why it exists: see `model.py`. Importing this package does not load ONNX Runtime; `arhn_hf.reader.model` does.
"""
