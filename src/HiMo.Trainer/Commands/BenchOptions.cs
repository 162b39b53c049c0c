// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary>Options that several benchmarks take, and how their values are checked.</summary>
internal static class BenchOptions
{
    /// <summary>JSON instead of Markdown.</summary>
    public static Option<bool> Json() => new("--json") { Description = "Print one JSON object instead of a Markdown table." };

    /// <summary>Threads of both sides.</summary>
    public static Option<int> Threads() => new("--threads")
    {
        Description = "Threads of both sides. [one per processor]", HelpName = "T", DefaultValueFactory = _ => Environment.ProcessorCount,
    };

    /// <summary>Seconds for each measurement.</summary>
    /// <param name="standard">Where the option is not given.</param>
    public static Option<double> Seconds(double standard) => new("--seconds") { Description = "Time for each measurement.", HelpName = "S", DefaultValueFactory = _ => standard };

    /// <summary>A whole number.</summary>
    public static Option<int> Number(string name, int standard, string help, string description) =>
        new(name) { Description = description, HelpName = help, DefaultValueFactory = _ => standard };

    /// <summary>Whole numbers, separated by commas.</summary>
    public static Option<string> List(string name, string standard, string description) =>
        new(name) { Description = description, HelpName = "A,B,...", DefaultValueFactory = _ => standard };

    /// <summary>The numbers of a <see cref="List"/>, each of them at least <paramref name="least"/>.</summary>
    public static int[] Numbers(ParseResult parse, Option<string> option, int least)
    {
        string given = parse.GetValue(option)!;
        return [.. given.Split(',').Select(each => int.TryParse(each, out int value) && value >= least
            ? value
            : throw new UserError($"{option.Name} is {given}; it must be whole numbers from {least} on, separated by commas"))];
    }

    /// <summary>The value of an option, at least <paramref name="least"/>.</summary>
    public static int AtLeast(ParseResult parse, Option<int> option, int least)
    {
        int value = parse.GetValue(option);
        return value >= least ? value : throw new UserError($"{option.Name} is {value}; it must be {least} or more");
    }
}
