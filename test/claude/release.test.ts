import { pathToFileURL } from 'node:url';
import { sdkModule } from './sdk-cache.ts';
import { describeSdk } from './suite.ts';

// One release of the Agent SDK, which releases.ts has installed.
const { TEST_SDK: sdk, TEST_SDK_RESULT: resultFile } = process.env;
if (sdk === undefined) throw new Error('TEST_SDK is not set: run npm run test:releases -- VERSION');
describeSdk(sdk, pathToFileURL(sdkModule(sdk)).href, resultFile);
