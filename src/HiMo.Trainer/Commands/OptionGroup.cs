// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Runtime.CompilerServices;

namespace HiMo.Trainer;

/// <summary>Titles under which help shows the options of a command that has many.</summary>
internal static class OptionGroup
{
    private const string Usual = "Options";

    private static readonly ConditionalWeakTable<Option, string> s_titles = new();

    /// <summary>The title of an option.</summary>
    /// <param name="option">The option.</param>
    public static string Of(Option option) => s_titles.TryGetValue(option, out string? title) ? title : Usual;

    /// <summary>Puts an option under a title.</summary>
    /// <param name="option">The option.</param>
    /// <param name="title">Sentence case, without a full stop.</param>
    public static void Set(Option option, string title) => s_titles.AddOrUpdate(option, title);
}
