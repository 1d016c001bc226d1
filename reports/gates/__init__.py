"""What is said about gates: tables and figures from the frames that `bench gates` keeps."""
