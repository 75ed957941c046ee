"""Images, plots and the one self-contained HTML page that shows what a run or a benchmark found."""
