// A dispatch works on several layers, each at a different chunk: a layer is one chunk behind the layer below it.
const CHUNKS = 32u;
