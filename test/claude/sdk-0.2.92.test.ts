import { describeSdk } from './suite.ts';

describeSdk('0.2.92');
