"""The commands of `noseprint`, one a file: options and what is printed. The work is done in the rooms below."""
