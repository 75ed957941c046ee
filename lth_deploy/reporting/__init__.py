"""Pictures, plots and the one self-contained HTML page that tells what a run or a benchmark found."""
