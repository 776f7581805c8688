// A dispatch works on several layers, each at a chunk of its own: the layer above is one chunk behind.
const CHUNKS = 32u;
