"""CTranslate2's model directories, read and written without CTranslate2."""
