// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;

return CommandRunner.Run(args, Console.Out, Console.Error);
