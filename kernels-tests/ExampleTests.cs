// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using System.Xml.Linq;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Every example in the XML docs of the libraries compiles as a program of its own; those of HiMo.Kernels also run.</summary>
internal sealed class ExampleTests
{
    private const string Usings = """
        using System;
        using System.Collections.Generic;
        using System.Linq;
        using HiMo.Interop;
        using HiMo.Kernels;
        using TorchSharp;
        using TorchSharp.Modules;

        """;

    private static readonly string[] s_assemblies = ["HiMo.Kernels", "HiMo.Interop"];

    public static IEnumerable<TestCaseData> Examples() =>
        from assembly in s_assemblies
        from member in XDocument.Load(Path.Combine(AppContext.BaseDirectory, assembly + ".xml")).Descendants("member")
        from code in member.Elements("example").Elements("code")
        select new TestCaseData(assembly, member.Attribute("name")!.Value, code.Value).SetArgDisplayNames(assembly, member.Attribute("name")!.Value);

    [TestCaseSource(nameof(Examples))]
    public void Compiles(string assembly, string member, string code)
    {
        byte[] program = Compile(code, member);
        if (assembly == "HiMo.Kernels")
        {
            TextWriter console = Console.Out;
            using StringWriter output = new();
            Console.SetOut(output);
            try
            {
                MethodInfo main = Assembly.Load(program).EntryPoint!;
                _ = main.Invoke(null, main.GetParameters().Length == 0 ? [] : [Array.Empty<string>()]);
            }
            finally
            {
                Console.SetOut(console);
            }

            Assert.That(output.ToString(), Is.Not.Empty.And.Not.Contains("NaN"), $"what the example of {member} prints");
        }
    }

    /// <summary>The operations, as opposed to options, results and views, are the public classes that are no records.</summary>
    [Test]
    public void Every_operation_has_an_example()
    {
        IEnumerable<string> operations = new[] { typeof(L2Normalize).Assembly, typeof(HiMo.Interop.MoLoLoss).Assembly }.SelectMany(assembly => assembly.GetExportedTypes())
            .Where(type => type != typeof(HiMo.Interop.TorchLoader) && type != typeof(HiMo.Interop.PlainMoLoLoss)) // not the operation, and the one to compare with
            .Where(type => type.IsClass && !type.IsSubclassOf(typeof(Exception)) && type.GetMethod("<Clone>$") is null)
            .Select(type => "T:" + type.FullName);
        Assert.That(Examples().Select(example => example.Arguments[1]), Is.SupersetOf(operations));
    }

    private static byte[] Compile(string code, string member)
    {
        string[] platform = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator);
        CSharpCompilation compilation = CSharpCompilation.Create(
            "Example",
            [CSharpSyntaxTree.ParseText(Usings + code)],
            platform.Select(path => MetadataReference.CreateFromFile(path)),
            new CSharpCompilationOptions(OutputKind.ConsoleApplication, nullableContextOptions: NullableContextOptions.Enable)
                .WithSpecificDiagnosticOptions([KeyValuePair.Create("CS1701", ReportDiagnostic.Suppress)])); // newer platform than a package was built for; the SDK suppresses it too
        using MemoryStream program = new();
        Diagnostic[] problems = [.. compilation.Emit(program).Diagnostics.Where(each => each.Severity >= DiagnosticSeverity.Warning)];
        Assert.That(problems, Is.Empty, $"the example of {member}");
        return program.ToArray();
    }
}
