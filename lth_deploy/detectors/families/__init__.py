"""One file for each detector, named as recipes name it; `DETECTOR` is what the rest of the package takes from it."""
