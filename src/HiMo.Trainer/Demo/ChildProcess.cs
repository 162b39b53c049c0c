// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Text;

namespace HiMo.Trainer;

/// <summary>Runs this program again as a process of its own; several at a time use several processors with one torch thread each.</summary>
internal static class ChildProcess
{
    /// <summary>Runs one command to its end.</summary>
    /// <param name="arguments">The command line.</param>
    /// <param name="message">Receives each line of the child's error stream; may be called from another thread.</param>
    /// <param name="oneThread">Whether it shares the processors with others.</param>
    /// <param name="cancel">Closes the child's standard input, which asks commands that watch it to finish their step and save.</param>
    /// <param name="environment">Variables that it gets besides this process's.</param>
    /// <returns>What it wrote to standard output.</returns>
    /// <exception cref="UserError">It failed; the message is the child's last one.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static async Task<string> RunAsync(IReadOnlyList<string> arguments, Action<string> message, bool oneThread, CancellationToken cancel, IReadOnlyDictionary<string, string>? environment = null)
    {
        cancel.ThrowIfCancellationRequested();
        ProcessStartInfo start = new(Program())
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
        };
        foreach (string argument in Prefix().Concat(arguments))
        {
            start.ArgumentList.Add(argument);
        }

        if (oneThread)
        {
            // Idle OpenMP threads wait busily: several processes with several threads each would be many times slower.
            start.Environment["OMP_NUM_THREADS"] = "1";
        }

        foreach ((string name, string value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }

        using Process process = new() { StartInfo = start };
        string last = "";
        process.ErrorDataReceived += (_, line) =>
        {
            if (!string.IsNullOrWhiteSpace(line.Data))
            {
                last = line.Data;
                message(line.Data);
            }
        };
        _ = process.Start();
        process.BeginErrorReadLine();
        await using CancellationTokenRegistration stop = cancel.Register(process.StandardInput.Close);
        string output = await process.StandardOutput.ReadToEndAsync(CancellationToken.None).ConfigureAwait(false);
        await process.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
        cancel.ThrowIfCancellationRequested();
        return process.ExitCode == 0
            ? output
            : throw new UserError($"'himo {string.Join(' ', arguments)}' ended with exit code {process.ExitCode}: {last.Replace("himo: ", "", StringComparison.Ordinal)}");
    }

    /// <summary>Runs commands, as many at a time as told. The first failure stops the others.</summary>
    /// <param name="commands">Command lines.</param>
    /// <param name="atATime">At least 1.</param>
    /// <param name="message">Receives the index of a command and a line of its error stream.</param>
    /// <param name="cancel">As for one.</param>
    public static async Task RunAllAsync(IReadOnlyList<IReadOnlyList<string>> commands, int atATime, Action<int, string> message, CancellationToken cancel)
    {
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        UserError? failure = null;
        ParallelOptions options = new() { MaxDegreeOfParallelism = atATime, CancellationToken = stop.Token };
        try
        {
            await Parallel.ForAsync(0, commands.Count, options, async (index, token) =>
            {
                try
                {
                    _ = await RunAsync(commands[index], line => message(index, line), oneThread: true, token).ConfigureAwait(false);
                }
                catch (UserError error)
                {
                    failure ??= error;
                    await stop.CancelAsync().ConfigureAwait(false);
                }
            }).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (failure is not null)
        {
            throw failure;
        }
    }

    private static bool IsOwnExecutable => Path.GetFileNameWithoutExtension(Environment.ProcessPath) == typeof(ChildProcess).Assembly.GetName().Name;

    private static string Program() => Environment.ProcessPath ?? "dotnet";

    private static string[] Prefix() => IsOwnExecutable ? [] : [Path.Combine(AppContext.BaseDirectory, typeof(ChildProcess).Assembly.GetName().Name + ".dll")];
}
