// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class RunFolderTests : FolderTests
{
    /// <summary>Values of another type than the program writes count as absent; they do not end the report.</summary>
    [Test]
    public void Values_of_another_type_count_as_absent()
    {
        File.WriteAllText(Path.Combine(Folder, "log.jsonl"), """{"kind":1,"loss":2.5}""" + "\n" + """{"kind":"step","loss":"much"}""" + "\n" + """{"kind":["eval"]}""" + "\n");
        File.WriteAllText(Path.Combine(Folder, "config.json"), """{"loss":7,"base":{}}""");
        RunFolder run = RunFolder.Read(Folder);
        Assert.Multiple(() =>
        {
            Assert.That(run.StepValues("loss"), Is.EqualTo(new[] { double.NaN }));
            Assert.That(run.Evaluations, Is.Empty);
            Assert.That(run.Loss, Is.EqualTo("unknown"));
            Assert.That(run.Base, Is.EqualTo("from scratch"));
        });
    }
}
