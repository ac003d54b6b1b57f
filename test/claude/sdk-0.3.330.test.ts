import { describeSdk } from './suite.ts';

describeSdk('0.3.330');
