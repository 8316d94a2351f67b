"""detections."""
