//! Trains the autoencoder and writes it as ONNX.
