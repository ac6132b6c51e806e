def test_x(tables_folder):
    print(tables_folder)
