// A worker under a name that no release has had so far.
import '../sdk-worker.js';
