"""Data sets: COCO files, Pascal VOC folders and generated shapes, checked in full before anything trains.

Only `loader` needs torch.
"""
