// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary>Commands that help shows under one heading.</summary>
/// <param name="Title">The heading.</param>
/// <param name="Entries">Its commands, in order.</param>
internal sealed record CommandGroup(string Title, params CommandEntry[] Entries);

/// <summary>One command and calls that work as they stand.</summary>
/// <param name="Command">The command, complete with its options and action.</param>
/// <param name="Examples">At least one call, starting with <c>./himo</c>.</param>
internal sealed record CommandEntry(Command Command, params string[] Examples);
