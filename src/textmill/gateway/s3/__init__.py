"""The part of S3 that notebooks, SDKs and jobs use, on a folder of this machine."""
