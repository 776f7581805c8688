// A dispatch works on several layers, each at a chunk of its own: each layer is one chunk behind the layer below.
const CHUNKS = 32u;
