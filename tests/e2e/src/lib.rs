//! Starts the whole stack, breaks it and judges the diagnosis.
