//! Images, autoencoder runtime, anomaly scores and their calibration.
