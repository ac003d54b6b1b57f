// Where Clay 2.36 and 2.41 keep their worker; the one of 2.17 is sdk-worker.js.
import '../../sdk-worker.js';
