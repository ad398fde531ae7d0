"""The engines that read images; imported in a child only, with Pillow."""
