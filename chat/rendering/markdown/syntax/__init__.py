"""What answers have beyond CommonMark: each module has one plugin of the parser."""
