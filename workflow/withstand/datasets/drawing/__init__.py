"""Drawing of shapetex: shapes, textures, scenes that combine them, and the styles in which scenes are drawn."""
