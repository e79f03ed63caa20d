"""What customers did, as it comes in: other people's formats, read, checked and made small. Pure."""
