// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;

return CommandLine.Create().Parse(args).Invoke();
