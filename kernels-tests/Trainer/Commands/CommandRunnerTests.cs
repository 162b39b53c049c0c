// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class CommandRunnerTests
{
    [Test]
    public void A_right_call_runs_and_gives_0()
    {
        (int code, string output, string error) = Run("bake", "--size", "3", "--crust", "thick-and-hard", "--sugar", "off");
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.Zero);
            Assert.That(output, Is.EqualTo("3 ThickAndHard Off\n"));
            Assert.That(error, Is.Empty);
        });
    }

    [TestCase("bake --siez 3", "himo: ./himo bake has no option --siez; the nearest is --size; see ./himo bake --help")]
    [TestCase("bake --size 3 --verbos", "himo: ./himo bake has no option --verbos; the nearest is --verbose; see ./himo bake --help")]
    [TestCase("eat --siez=3 cake", "himo: ./himo eat has no option --siez; the nearest is --size; see ./himo eat --help")]
    [TestCase("bkae --size 3", "himo: ./himo has no command bkae; the nearest is bake; see ./himo --help")]
    [TestCase("shop by", "himo: ./himo shop has no command by; the nearest is buy; see ./himo shop --help")]
    [TestCase("shop", "himo: ./himo shop needs one of its commands: buy; see ./himo shop --help")]
    [TestCase("bake cake --size 3", "himo: ./himo bake: unexpected argument cake; see ./himo bake --help")]
    [TestCase("bake --size big", "himo: ./himo bake: --size must be a whole number, not 'big'; see ./himo bake --help")]
    [TestCase("bake --size 3 --crust thin", "himo: ./himo bake: --crust must be one of soft|thick-and-hard, not 'thin'; see ./himo bake --help")]
    [TestCase("bake --size 3 --sugar true", "himo: ./himo bake: --sugar must be one of off|on, not 'true'; see ./himo bake --help")]
    [TestCase("bake", "himo: ./himo bake: Option '--size' is required; see ./himo bake --help")]
    [TestCase("bake --size", "himo: ./himo bake: Required argument missing for option: '--size'; see ./himo bake --help")]
    public void A_wrong_call_gives_2_and_one_line(string call, string message)
    {
        (int code, string output, string error) = Run(call.Split(' '));
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(2));
            Assert.That(output, Is.Empty);
            Assert.That(error, Is.EqualTo(message + "\n"));
        });
    }

    [TestCase("user", "himo: the oven is cold")]
    [TestCase("argument", "himo: size must be positive; it is -1.")]
    [TestCase("io", "himo: no such oven")]
    [TestCase("defect", "himo: unexpected InvalidOperationException: first line (--verbose shows where)")]
    public void A_failure_gives_1_and_one_line(string kind, string message)
    {
        (int code, string output, string error) = Run("fail", "--kind", kind);
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(output, Is.Empty);
            Assert.That(error, Is.EqualTo(message + "\n"));
        });
    }

    [Test]
    public void Verbose_adds_the_stack_trace()
    {
        (int code, _, string error) = Run("fail", "--kind", "user", "--verbose");
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(error, Does.StartWith("himo: the oven is cold\n"));
            Assert.That(error, Does.Contain("at HiMo.Kernels.Tests.CommandRunnerTests"));
        });
    }

    [Test]
    public void A_stopped_command_gives_130()
    {
        (int code, _, string error) = Run("fail", "--kind", "stop");
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(130));
            Assert.That(error, Does.StartWith("himo: stopped on request"));
        });
    }

    [Test]
    public void A_signal_cancels_the_action()
    {
        Assert.That(Run("wait").Code, Is.EqualTo(130));
    }

    [Test]
    public void Values_may_be_negative_and_start_with_an_at_sign()
    {
        Assert.Multiple(() =>
        {
            Assert.That(Run("bake", "--size", "-3").Output, Does.StartWith("-3 "));
            Assert.That(Run("eat", "@cake", "-x").Output, Is.EqualTo("@cake -x\n"));
            Assert.That(Run("eat", "--", "--cake").Output, Is.EqualTo("--cake\n"));
        });
    }

    [Test]
    public void Help_of_a_command_lists_options_with_their_values()
    {
        (int code, string output, string error) = Run("bake", "--help");
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.Zero);
            Assert.That(error, Is.Empty);
            Assert.That(output, Does.Contain("Usage: ./himo bake [options]"));
            Assert.That(output, Does.Match(@"--size cm +Width of the cake\. \(required\)\n"));
            Assert.That(output, Does.Match(@"--crust soft\|thick-and-hard +The crust\. \[soft\]\n"));
            Assert.That(output, Does.Match(@"--verbose +Show stack traces of failures\.\n"));
        });
    }

    [TestCase("", "", 0)]
    [TestCase("", "abc", 3)]
    [TestCase("tau", "tua", 1)]
    [TestCase("kitten", "sitting", 3)]
    [TestCase("--lable-smoothing", "--label-smoothing", 1)]
    public void Distance_counts_edits(string left, string right, int expected)
    {
        Assert.Multiple(() =>
        {
            Assert.That(NearestName.Distance(left, right), Is.EqualTo(expected));
            Assert.That(NearestName.Distance(right, left), Is.EqualTo(expected));
        });
    }

    private enum Crust
    {
        Soft,
        ThickAndHard,
    }

    private static (int Code, string Output, string Error) Run(params string[] arguments)
    {
        StringWriter output = new() { NewLine = "\n" };
        StringWriter error = new() { NewLine = "\n" };
        RootCommand root = CommandLine.CreateRoot();
        root.Add(Bake());
        root.Add(Eat());
        root.Add(Fail());
        root.Add(Wait());
        root.Add(new Command("shop", "Shops.") { new Command("buy", "Buys.") });
        int code = CommandRunner.Run(root, arguments, output, error);
        return (code, output.ToString(), error.ToString().ReplaceLineEndings("\n"));
    }

    private static Command Bake()
    {
        Option<int> size = new("--size") { Description = "Width of the cake.", HelpName = "cm", Required = true };
        Option<Crust> crust = ChoiceOption.Create("--crust", Crust.Soft, "The crust.");
        Option<OnOff> sugar = ChoiceOption.Create("--sugar", OnOff.On, "Whether it is sweet.");
        Command command = new("bake", "Bakes a cake.") { size, crust, sugar };
        command.Set((parse, _) => parse.InvocationConfiguration.Output.WriteLine(
            $"{parse.GetValue(size)} {parse.GetValue(crust)} {parse.GetValue(sugar)}"));
        return command;
    }

    private static Command Eat()
    {
        Argument<string[]> names = new("name") { Arity = ArgumentArity.OneOrMore };
        Option<int> size = new("--size");
        Command command = new("eat", "Eats cakes.") { names, size };
        command.Set((parse, _) => parse.InvocationConfiguration.Output.WriteLine(string.Join(' ', parse.GetValue(names)!)));
        return command;
    }

    private static Command Fail()
    {
        Option<string> kind = new("--kind");
        Command command = new("fail", "Fails.") { kind };
        command.Set((parse, _) => throw parse.GetValue(kind) switch
        {
            "user" => new UserError("the oven is cold"),
            "argument" => new ArgumentException("size must be positive; it is -1.", "size"),
            "io" => new FileNotFoundException("no such oven"),
            "stop" => new OperationCanceledException(),
            _ => new InvalidOperationException("first line\nsecond line"),
        });
        return command;
    }

    private static Command Wait()
    {
        Command command = new("wait", "Waits until it is stopped.");
        command.Set((_, cancellation) =>
        {
            using System.Diagnostics.Process kill = System.Diagnostics.Process.Start("kill", ["-TERM", $"{Environment.ProcessId}"]);
            Assert.That(cancellation.WaitHandle.WaitOne(TimeSpan.FromSeconds(30)), "the signal cancels the token");
            cancellation.ThrowIfCancellationRequested();
        });
        return command;
    }
}
