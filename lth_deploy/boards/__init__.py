"""Other machines that run models: reached by ssh or adb, given a bundle of programs, and asked for figures."""
