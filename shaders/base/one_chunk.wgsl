// A dispatch works on one layer.
const CHUNKS = 1u;
