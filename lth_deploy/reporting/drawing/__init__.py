"""SVG, HTML, and images with detections."""
