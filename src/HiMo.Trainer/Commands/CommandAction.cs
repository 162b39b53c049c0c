// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Runtime.InteropServices;

namespace HiMo.Trainer;

/// <summary>What a command does. Exceptions need no handling there: <see cref="CommandRunner"/> turns them into one line and an exit code.</summary>
internal static class CommandAction
{
    /// <summary>
    /// Sets the action of a command, which runs on the calling thread. The first Ctrl-C (or SIGTERM) cancels the token, so that
    /// the action can finish its step, save, and throw OperationCanceledException; the second one ends the process at once.
    /// </summary>
    /// <param name="command">The command.</param>
    /// <param name="run">Reads its options from the parse result, works, writes its result to <c>parse.InvocationConfiguration.Output</c>.</param>
    public static void Set(this Command command, Action<ParseResult, CancellationToken> run) => command.SetAction(parse =>
    {
        using CancellationTokenSource source = new();
        void Cancel(PosixSignalContext context)
        {
            context.Cancel = !source.IsCancellationRequested;
            source.Cancel();
        }

        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Cancel);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Cancel);
        run(parse, source.Token);
    });
}
