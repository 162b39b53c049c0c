// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary>The one list of commands; each lives in its own file beside this one.</summary>
internal static class CommandLine
{
    public static RootCommand Create() => new("HiMo-CLIP: fine-tune, evaluate and report.");
}
