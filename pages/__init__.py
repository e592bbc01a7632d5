"""Every report and page for people: the words, the document model, a writer for each format."""
