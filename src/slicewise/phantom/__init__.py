"""A head-CT phantom with hemorrhages, written as DICOM."""
