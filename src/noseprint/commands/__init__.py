"""The commands of `noseprint`, one in each file: the options and the printed text. Other packages do the work."""
