import ca.uhn.hl7v2.AcknowledgmentCode;
import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.HapiContext;
import ca.uhn.hl7v2.app.Connection;
import ca.uhn.hl7v2.llp.MinLLPReader;
import ca.uhn.hl7v2.llp.MinLLPWriter;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.model.v25.message.ADT_A01;
import ca.uhn.hl7v2.parser.PipeParser;
import ca.uhn.hl7v2.util.Terser;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** Sends a message for each line "ACCEPT APPLICATION PROCESSING-ID", - for blank; prints answers. */
public class Pairs {
    private static final String LAST = "last";

    public static void main(String[] arguments) throws Exception {
        String host = arguments[0];
        int port = Integer.parseInt(arguments[1]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        try (HapiContext context = new DefaultHapiContext();
                Socket socket = new Socket(host, port)) {
            socket.setSoTimeout(20_000);
            PipeParser parser = context.getPipeParser();
            MinLLPWriter writer = new MinLLPWriter(socket.getOutputStream());
            MinLLPReader reader = new MinLLPReader(socket.getInputStream());
            int number = 0;
            for (String line; (line = lines.readLine()) != null; number++) {
                String[] asked = line.split(" ");
                String id = "hapi-" + number;
                Message message = adt(blank(asked[0]), blank(asked[1]), asked[2], id);
                writer.writeMessage(parser.encode(message));
                writer.writeMessage(parser.encode(adt("", "", "P", LAST)));
                List<String> codes = new ArrayList<>();
                Terser said = new Terser(parser.parse(reader.getMessage()));
                while (!said.get("/MSA-2").equals(LAST)) {
                    if (!said.get("/MSA-2").equals(id)) {
                        throw new IllegalStateException("an answer to another message");
                    }
                    codes.add(said.get("/MSA-1"));
                    said = new Terser(parser.parse(reader.getMessage()));
                }
                System.out.println(line + " " + String.join(",", codes));
                if (codes.size() == 1) {
                    initiate(context, host, port, message, codes.get(0));
                }
            }
        }
    }

    /** HAPI's own initiator, which matches one answer to one message. */
    private static void initiate(
            HapiContext context, String host, int port, Message message, String code)
            throws Exception {
        Connection connection = context.newClient(host, port, false);
        try {
            Message said = connection.getInitiator().sendAndReceive(message);
            if (!new Terser(said).get("/MSA-1").equals(AcknowledgmentCode.valueOf(code).name())) {
                throw new IllegalStateException("the initiator heard another code");
            }
        } finally {
            connection.close();
        }
    }

    private static ADT_A01 adt(String accept, String application, String processing, String id)
            throws Exception {
        ADT_A01 message = new ADT_A01();
        message.initQuickstart("ADT", "A01", processing);
        Terser terser = new Terser(message);
        terser.set("/MSH-3", "HAPI");
        terser.set("/MSH-10", id);
        terser.set("/MSH-15", accept);
        terser.set("/MSH-16", application);
        terser.set("/PID-3-1", "7");
        terser.set("/PID-3-5", "MR");
        return message;
    }

    private static String blank(String said) {
        return said.equals("-") ? "" : said;
    }
}
