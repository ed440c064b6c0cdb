// An application that sends by the platform's web service: the class that the WSDL tool made of it, and this.
// mono Send.exe ENDPOINT TEXT CUSTOM_TICKET STATUS_URL PHONE…
using System;
using System.Linq;
using System.Web.Services.Protocols;

class Send
{
    static void Main(string[] given)
    {
        var service = new Webservices { Url = given[0] };
        var auth = new Auth
        {
            username = "acme-user",
            password = "password & <more>",
            api_key = "key-é",
            code = "12345",
            keyword = "JOIN",
        };
        var recipients = given.Skip(4)
            .Select(phone => new Recipient { sendTo = phone, type = 1, typeSpecified = true })
            .ToArray();

        var sent = service.sendMessage(auth, given[1], recipients, given[2], given[3]);
        Console.WriteLine("result=" + (sent.result ? "true" : "false"));
        Console.WriteLine("error_code=" + sent.error_code);
        Console.WriteLine("message=" + sent.message);
        Console.WriteLine("custom_ticket=" + sent.custom_ticket);
        Console.WriteLine("ticket=" + sent.ticket);
        foreach (var row in service.getTransactionStatus(auth, sent.ticket, "").recipients)
        {
            var result = row.result ? "true" : "false";
            Console.WriteLine($"row={row.sendTo} {row.status_code} {row.status_message} {result}");
        }

        var refused = service.sendMessage(auth, " ", recipients, null, null);
        Console.WriteLine("refused=" + (refused.result ? "true" : "false") + " " + refused.error_code);
        try
        {
            // More of them than anybody looks at.
            service.sendMessage(auth, given[1], Enumerable.Repeat(new Recipient { sendTo = "1" }, 12000).ToArray(), "", "");
        }
        catch (SoapException fault)
        {
            Console.WriteLine("fault=" + fault.Code.Name);
        }
    }
}
