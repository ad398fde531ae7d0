"""`modelmora demo`: an instance for a minute, what it is asked, and the two models it brings."""
