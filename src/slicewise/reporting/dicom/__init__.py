"""What an archive sees of the results: a structured report, key objects and secondary captures, as DICOM."""
