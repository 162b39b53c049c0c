// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class TableCommandTests : FolderTests
{
    [Test]
    public void Results_stand_below_the_papers_rows()
    {
        string urban = Save("urban.json", """{"checkpoint":"a.pt","protocol":"urban1k","image_to_text_R@1":0.5,"text_to_image_R@1":0.25,"images":100,"texts":100}""");
        string docci = Save("docci.json", """{"checkpoint":"b.pt","protocol":"himo-docci","himo@2":1,"himo@K":0.4567,"images":50}""");
        HimoCall call = HimoCall.Run("table", urban, docci);
        Assert.That(call.Code, Is.Zero, call.Error);
        string[] lines = call.Output.Split('\n');
        Assert.Multiple(() =>
        {
            Assert.That(lines, Does.Contain("| | Urban1k I2T | Urban1k T2I | DOCCI I2T | DOCCI T2I | Long-DCI I2T | Long-DCI T2I |"));
            Assert.That(lines, Does.Contain("| HiMo-CLIP, L/14 (paper) | 93.0 | 93.1 | 82.4 | 84.4 | 62.2 | 61.9 |"));
            // Wilson's intervals of 50 and 25 of 100, and of 50 of 50
            Assert.That(lines, Does.Contain("| **a.pt** | 50.0 (40.4 to 59.6) | 25.0 (17.5 to 34.3) | – | – | – | – |"));
            Assert.That(lines, Does.Contain("| **b.pt** | 100.0 (92.9 to 100.0) | – | 0.46 | – |"));
            Assert.That(lines, Has.None.Contains("short texts"), "a table without any of the results is left out");
            Assert.That(lines.Where(line => line.StartsWith('|')).Select(line => line.Count(character => character == '|')).Distinct(), Is.EquivalentTo(new[] { 8, 6 }));
        });
    }

    [Test]
    public void Json_holds_the_same_numbers()
    {
        string result = Save("r.json", """{"checkpoint":"a.pt","protocol":"coco","image_to_text_R@1":0.5,"text_to_image_R@1":0.25,"images":100,"texts":500}""");
        string output = Path.Combine(Folder, "table.json");
        HimoCall call = HimoCall.Run("table", result, "--json", "--out", output);
        Assert.That((call.Code, call.Output), Is.EqualTo((0, "")), call.Error);
        JsonNode table = JsonNode.Parse(File.ReadAllText(output))!.AsArray().Single()!;
        JsonNode own = table["rows"]!.AsArray()[^1]!;
        Assert.Multiple(() =>
        {
            Assert.That(table["columns"]!.AsArray().Select(column => (string)column!["set"]!), Is.EqualTo(new[] { "Flickr30k", "Flickr30k", "COCO", "COCO" }));
            Assert.That(own["values"]!.ToJsonString(), Is.EqualTo("[null,null,50,25]"));
            Assert.That((double)own["intervals"]![3]![0]!, Is.EqualTo(100 * Wilson.Interval(0.25, 500).Low));
            Assert.That((string)table["rows"]![0]!["source"]!, Does.Contain("2511.06653"));
        });
    }

    // By hand: z^2 = 3.8415, centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).
    [TestCase(0.0, 10, 0.0, 0.27753)]
    [TestCase(0.5, 10, 0.23659, 0.76341)]
    [TestCase(0.1, 1000, 0.08291, 0.12015)]
    public void Intervals_are_Wilsons(double share, int count, double low, double high)
    {
        (double actualLow, double actualHigh) = Wilson.Interval(share, count);
        Assert.That(actualLow, Is.EqualTo(low).Within(1e-5));
        Assert.That(actualHigh, Is.EqualTo(high).Within(1e-5));
    }

    [TestCase("[1]", "no JSON object")]
    [TestCase("{", "no JSON (")]
    [TestCase("{\"checkpoint\":\"a\"}", "names no checkpoint or no protocol")]
    [TestCase("{\"checkpoint\":\"a\",\"protocol\":\"growing\"}", "none of the 1 results")]
    public void Bad_results_are_refused(string content, string reason)
    {
        HimoCall call = HimoCall.Run("table", Save("bad.json", content));
        Assert.That((call.Code, call.Output), Is.EqualTo((1, "")));
        Assert.That(call.Error, Does.Contain(reason));
    }

    [Test]
    public void The_same_measurement_twice_is_refused()
    {
        string result = Save("r.json", """{"checkpoint":"a.pt","protocol":"coco","images":1}""");
        Assert.That(HimoCall.Run("table", result, result).Error, Does.Contain("in another of the files"));
    }

    private string Save(string name, string content)
    {
        string path = Path.Combine(Folder, name);
        File.WriteAllText(path, content);
        return path;
    }
}
