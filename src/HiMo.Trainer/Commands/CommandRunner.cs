// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>
/// Runs one command line. Every failure becomes one message on the error stream: exit code 2 where the call itself is wrong, 130
/// where the user stopped it, otherwise 1. A stack trace is shown only with --verbose.
/// </summary>
internal static class CommandRunner
{
    private const int Failure = 1;
    private const int WrongUsage = 2;
    private const int Interrupted = 130;

    /// <summary>Taken by every command.</summary>
    public static Option<bool> Verbose { get; } = new("--verbose") { Description = "Show stack traces of failures.", Recursive = true };

    /// <summary>Parses and runs.</summary>
    /// <param name="arguments">The command line without the program's name.</param>
    /// <param name="output">Receives results and help.</param>
    /// <param name="error">Receives messages.</param>
    /// <returns>The exit code of the process.</returns>
    public static int Run(string[] arguments, TextWriter output, TextWriter error) => Run(CommandLine.Create(), arguments, output, error);

    /// <summary>The same for other commands than those of <see cref="CommandLine"/>.</summary>
    internal static int Run(RootCommand root, string[] arguments, TextWriter output, TextWriter error)
    {
        // A file name may start with @, and no option here has a one-letter form that could be bundled.
        ParseResult parse = root.Parse(arguments, new ParserConfiguration { ResponseFileTokenReplacer = null, EnablePosixBundling = false });
        if (UsageErrors.Find(parse, arguments) is { } mistake)
        {
            error.WriteLine($"himo: {mistake}");
            return WrongUsage;
        }

        try
        {
            return parse.Invoke(new InvocationConfiguration
            {
                Output = output,
                Error = error,
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null, // CommandAction listens to signals
            });
        }
        catch (OperationCanceledException)
        {
            error.WriteLine("himo: stopped on request; what was complete is kept");
            return Interrupted;
        }
        catch (Exception failure)
        {
            error.WriteLine($"himo: {Message(failure)}");
            if (parse.GetValue(Verbose))
            {
                error.WriteLine(failure);
            }

            return Failure;
        }
    }

    private static string Message(Exception failure)
    {
        string line = failure.Message.ReplaceLineEndings("\n").Split('\n')[0];
        return failure switch
        {
            UserError or GpuException or IOException or UnauthorizedAccessException => line,
            ArgumentException { ParamName: { } name } => line.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal),
            ArgumentException => line,
            _ => $"unexpected {failure.GetType().Name}: {line} (--verbose shows where)",
        };
    }
}
