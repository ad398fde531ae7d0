"""`modelmora infer --file`: a file's rows asked in bulk, and their answers as a file."""
